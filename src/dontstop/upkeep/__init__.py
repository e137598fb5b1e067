"""What a study is looked after with: the doctor, and the verification of what was published."""
