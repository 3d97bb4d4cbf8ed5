"""Banks and merchants, well and ill behaved, over real HTTP: for trying out, showing and testing."""
