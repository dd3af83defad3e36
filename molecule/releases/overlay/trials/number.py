"""The number of the release, which is all that most releases of the tests differ in."""

NUMBER = 1
