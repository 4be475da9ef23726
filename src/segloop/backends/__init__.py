"""Who runs encode and decode."""
