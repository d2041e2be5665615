"""`rl_token report`: one page that shows whether practice is working."""
