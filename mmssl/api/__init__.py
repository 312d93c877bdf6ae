"""What the commands do, for Python: launch studies, ask them, reproduce tables."""
