"""From a model's folder and labelled texts to a pack with a verdict: capture, fit, evaluate, calibrate."""
