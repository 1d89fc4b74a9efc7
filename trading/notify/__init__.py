"""The durable outbox and its channels."""
