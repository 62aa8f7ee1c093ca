"""This machine and what it offers: cores, devices, precision, memory, rates of copies and of matrix products."""
