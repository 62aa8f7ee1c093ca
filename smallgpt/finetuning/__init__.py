"""Adapting a trained model to examples: which of its weights learn, the loss, and how good it then is."""
