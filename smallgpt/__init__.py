"""A bench on which small, fast decoder-only language models are compared."""
