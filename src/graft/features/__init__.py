"""What the frozen backbone says of each image: the engines that compute it, the arrays on disk."""
