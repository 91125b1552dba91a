"""What one run is: setup, session, outcome."""
