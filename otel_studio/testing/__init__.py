"""For the tests of programs that use OTel Studio: isolation and a pytest fixture."""
