"""What is worked out of the program without deploying it: its graph, prices, pictures, tables of the docs."""
