"""Strategy definitions: parameters, features wanted, and a stateless rule."""
