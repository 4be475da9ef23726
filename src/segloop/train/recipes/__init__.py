"""Recipes: functions that return a full TrainConfig; each header says what it is for and what to expect."""
