"""The residual that acts: its network at control rate, its weights and who lets them in, which version acts and with which share."""
