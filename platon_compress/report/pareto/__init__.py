"""Several runs on one page: which of their files no other one beats."""
