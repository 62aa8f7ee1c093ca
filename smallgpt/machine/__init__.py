"""What this machine is and offers: cores, devices, precision, memory, rates of copies and of matrix products."""
