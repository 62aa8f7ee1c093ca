"""Tables for people, made from the results that programs read."""
