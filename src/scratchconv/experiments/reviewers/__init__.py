"""What the reviewers of Neyshabur 2020 asked for, one file each."""
