"""A bench on which small, fast decoder-only language models are compared."""

__version__ = "0.1.0"
