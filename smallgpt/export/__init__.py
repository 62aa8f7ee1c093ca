"""Export of a trained model to a folder that other programs read, compared with the checkpoint before it is done."""
