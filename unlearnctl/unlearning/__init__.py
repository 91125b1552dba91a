"""Define what one run is: setup, session, outcome."""
