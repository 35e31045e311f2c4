"""Where devices are mounted: base stations, poles, bridges."""
