"""Prepare the judges of a candidate's answers: material, calibration, panel."""
