"""What every backend must do, as named checks that anybody can run on theirs."""
