"""The sample's URLs and those of the tests."""

from django.urls import include, path

from . import views

urlpatterns = [
    path("", include("psychology_clinic.urls")),
    path("trials/release/", views.release),
    path("trials/wait/", views.wait),
    path("trials/style/", views.style),
    path("trials/queue/<int:count>/<slug:name>/", views.queue),
    path("trials/long/<int:seconds>/<slug:name>/", views.long),
]
