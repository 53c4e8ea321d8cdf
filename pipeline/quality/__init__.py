"""What is wrong with a dataset: its rows whatever their format, what can be measured of them, and a verdict on each."""
