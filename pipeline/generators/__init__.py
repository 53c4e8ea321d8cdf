"""Ways to get candidate answers, one file each."""
