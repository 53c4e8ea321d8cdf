"""pairwright's pipeline: from articles to a preference dataset, one straight path."""
