"""What a run is: its values, recipes, files of settings, and folder."""
