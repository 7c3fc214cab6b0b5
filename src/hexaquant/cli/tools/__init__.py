"""Programs with the names and flags of Qualcomm's, one file each."""
