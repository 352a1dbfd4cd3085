"""Does what people do at the right moment, and writes down when: the load generator, on Locust."""
