"""One training run: two encoders pre-trained without labels, and a head trained on few."""
