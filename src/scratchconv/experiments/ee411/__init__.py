"""Table and figures of the EE-411 reproduction report, one file each."""
