"""A trained model as a folder that other programs read, compared with the checkpoint before it is called done."""
