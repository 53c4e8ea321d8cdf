"""The Hugging Face Hub: one repo as a place to read from, and deliveries that are one commit or none."""
