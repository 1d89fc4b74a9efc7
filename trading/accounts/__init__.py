"""Books, the fill model, decisions and trade statistics."""
