"""What every variant keeps, checked on a small copy of a model before the model is used."""
