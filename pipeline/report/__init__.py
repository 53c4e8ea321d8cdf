"""What a run says about itself: the dataset card, the terminal summary, one pair's walk."""
