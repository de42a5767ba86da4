"""The hard cases of the life of an update, each as a world made by hand with a transcript that it must write."""
