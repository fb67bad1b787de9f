"""Events as the services of AWS send them, for Hypothesis."""
