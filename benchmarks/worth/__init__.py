"""What representations are worth: the encoders that are scored, and the experiments on them."""
