"""What is measured of policies, judges and pairs."""
