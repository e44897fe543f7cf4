"""WideSearch: wide questions whose answer is one table, graded cell by cell."""
