"""The server: embeddings computed once, a decoder for the browser, masks for whoever cannot decode."""
