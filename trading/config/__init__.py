"""The configuration: what it may say (``model``) and how it is read (``loading``)."""
