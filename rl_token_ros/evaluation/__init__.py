"""What a run was worth: scores of episodes, statistics over them, the page and the pictures of a report."""
