"""Results judged: any folder of them, under any protocol, by every metric of the package."""
