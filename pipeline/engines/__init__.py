"""Who answers a request, one file each, and what stands between them and the run (the ledger)."""
