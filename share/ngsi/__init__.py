"""NGSI-LD (ETSI GS CIM 009), the reading half of it, in the terms of Smart Data Models."""
